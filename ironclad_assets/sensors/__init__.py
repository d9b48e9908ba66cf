"""What starts runs by itself: upload watcher, dispatch, reconciler."""
