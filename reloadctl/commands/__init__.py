"""One module a verb, each with ``run(options) -> exit code``; ``options["args"]`` are its arguments."""
