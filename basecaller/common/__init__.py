"""What every other package may use: errors, files, facts, types and rules of values, the machine, and the program itself."""
