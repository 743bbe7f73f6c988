"""What asks for a reload by itself: one file per trigger, each an asynchronous iterator of requests."""
