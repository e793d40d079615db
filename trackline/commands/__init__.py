"""The `trackline` command's subcommands, one module each, with `add_arguments(parser)`."""
