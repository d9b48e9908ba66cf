"""Ironclad: a self-hosted audio pipeline as a Dagster asset graph.

Start reading at `definitions.py` (the graph) or `cli/` (the commands). Nothing is imported here, so that
reaching one module never drags in another.
"""
