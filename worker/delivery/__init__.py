"""The delivery worker: takes commands over, sends each to its connector when it may go, books what came of it."""
