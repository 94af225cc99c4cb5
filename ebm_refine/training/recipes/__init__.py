"""The recipes behind the embedded checkpoints, one data set or family a file."""
