"""Trainings on TRL: `train_sft`, `train_dpo`, `train_grpo`, `train_repair`, each in the module of that name, configured
by `config.training_config`. `early_stop` ends a training that regresses, `resume` continues a killed one."""
