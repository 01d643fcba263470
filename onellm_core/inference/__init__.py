"""Questions in, answers out.

========  ==================================================================
file      holds
========  ==================================================================
requests  ``Request`` and ``Answer``, and their JSON lines
batching  which requests share a batch
sampling  answers that do not depend on their neighbours in a batch
local     ``LocalEngine``: transformers on this machine
========  ==================================================================
"""
