"""The shell: what can be done with workflows, engines and their databases from a terminal."""
