"""Prepared data sets on disk: WebDataset tars, an offset index beside each, one manifest.

=========  ==========================================================
file       holds
=========  ==========================================================
tar        tar members as bytes, there and back
codec      a record as a run of tar members, there and back
in_place   a record as a line that says where its signals are
manifest   what ``manifest.json`` says
storage    byte ranges of local or remote files
files      writing a file so that it is there whole or not at all
writer     records → shards
reader     shards → records, by number
verify     checksums and indexes of a folder
summary    what a person wants to know about a folder
figures    what a look at some of its records shows
sheet      the figures as a PNG
page       the figures as a page of HTML
=========  ==========================================================
"""
