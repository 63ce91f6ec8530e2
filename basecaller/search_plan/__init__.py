"""The whole search: the plan's questions, asked again until nothing changes, the finalists, and the winner's test."""
