"""Looking before training: what features hold, what a filter keeps, how a file is stored and how fast it is read.

`exploring` and `previewing` do the first two, `profile` the others, by `storage`. Pages and the command line show what comes out;
nothing here is needed to make batches.
"""
