"""Checkpoints of other programs → model folders, and back, one tensor at a time.

==========  ================================================================
file        holds
==========  ================================================================
tensors     reading and writing checkpoints that are larger than the memory
reference   the published OneLLM's names, sizes and quirks
command     ``convert_from`` and ``convert_to``, what ``onellm convert`` calls
==========  ================================================================
"""
