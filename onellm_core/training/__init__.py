"""Training: stages of one configuration under DeepSpeed."""
