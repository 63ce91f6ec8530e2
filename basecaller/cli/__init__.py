"""What a command line is told and asked: the commands, their help, and completion in bash."""
