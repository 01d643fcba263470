"""Raw data → shards: ``run.prepare`` is the whole of ``onellm prepare``.

============  ==============================================================
file          holds
============  ==============================================================
run           the run: source → workers → shards, manifest and rejects
options       what a run is asked for
choices       the options that sources and modalities declare
report        what a run did
tasks         items with their numbers and splits, and what became of them
pool          workers' outcomes in order, and what happens when one dies
crew          what a pool expects of workers
processes     workers that are processes on this machine
ray_crew      workers that are actors on a Ray cluster
worker        one item → tar members, in a worker process
state         what an unfinished folder remembers
source_check  whether the source is still the one of the first run
merge         parts of one run → one folder
splits        the shards and rejects of one split
lock          one run at a time in a folder
signals       stopping on request
============  ==============================================================
"""
