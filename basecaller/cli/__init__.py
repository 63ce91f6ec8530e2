"""The command line: the commands, their help, and completion in bash."""
