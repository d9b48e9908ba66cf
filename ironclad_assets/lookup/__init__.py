"""Asks MusicBrainz, the Cover Art Archive and AcoustID about a song, politely and within a time cap."""
