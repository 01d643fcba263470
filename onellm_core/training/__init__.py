"""Training: the stages of one configuration under DeepSpeed.

=================  ==================================================================
file               holds
=================  ==================================================================
config             the schema of a configuration
config_file        YAML and ``--set`` → a configuration, or what is wrong with it
plan, report       what a run will do, worked out before it begins; as text
launch, worker     ``train``: in this process, in several, or under a launcher
run                the loop: stages, steps, when to save
data               a step's number → this process's micro-batches, read ahead
engine             the model under DeepSpeed: one optimizer step at a time
states             whole trained tensors and moments, in and out of any ZeRO stage
deepspeed_config   DeepSpeed's own configuration; its quiet import
attention          plain attention for short inputs on a CPU
schedule           the learning rate as a function of the step
checkpoint         whole tensors on disk, atomic, checked by hash
frozen             hashes that prove what stayed as it was
export             the trained model folder
output             the run's folder: one run at a time, the same configuration
metrics            JSON lines and progress
stop               SIGTERM and Ctrl-C
distributed        the processes, and what they tell each other
=================  ==================================================================
"""
