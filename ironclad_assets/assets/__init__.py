"""The stages of a song as Dagster assets, one thin module per room."""
