"""Layouts of data sets, a module each: `find(tree)` yields clips, `read(tree, clip)` their targets.

A module knows its convention (where files lie, pixel origin, box format, flags) and nothing else; every
target comes back as boxes x,y,w,h in pixels with origin 0.
"""
