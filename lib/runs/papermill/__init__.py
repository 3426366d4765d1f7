"""The papermill plug-in, installed as `rlvr_papermill`: `entry.RunEngine` executes this repository's templates."""
