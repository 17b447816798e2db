"""Everything between label files and pictures on disk and the batches of training: NumPy, in rooms that import one way.

media       pictures, video files, streams: pixels
labels      annotation files: reading, checking, splitting; the catalogue of sets    <- media
transforms  one clip with its targets, and what may be done to it                    <- media
clips       which frames of which video make a clip                                  <- labels, media, transforms
feed        batches, worker processes, the data set of MindSpore                     <- clips, media, transforms
synthetic   made-up sets                                                             <- labels, media
importers   label formats of other tools                                             <- labels, media
"""
