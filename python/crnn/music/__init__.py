"""Staff fragments: drawn for training, and written down as notation once they are read.

A pitch is named by its place on a staff with a treble clef, whatever the key signature says:
`C4` to `B4`, then `C5`. Everything else (charset, CTC, lexicon, evaluation) is that of words.
Drawing needs the extra ``music``; reading and writing notation do not.
"""
