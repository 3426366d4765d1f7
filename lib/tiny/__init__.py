"""Generates the problems of the preset `tiny` (`world.write`) and its base model (`base_model.train_base_model`)."""
