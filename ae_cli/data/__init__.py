"""Images and where they come from: one word, ``--data``, for every source."""
