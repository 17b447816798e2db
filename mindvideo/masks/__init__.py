"""Run-length codes of masks. No other room imports pycocotools.

rle       encode, decode, area, box, union, overlap of single masks
forms     polygons and other forms of label files, checked, to compressed codes; tubes (the masks of a track)
runs      checks that runs cover a mask
overlap   intersections and areas of all tubes of a video
packed_runs  the runs in which Label Studio keeps brushes
sampling  chosen rows and columns of a mask; lazy: the masks of a clip through flips, crops and resizes
native    the compiled functions
"""
