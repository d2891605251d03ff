"""The program `settlement`, also started as `python -m worker`."""


def main() -> None:
    """Loads the command line and runs it; Ctrl-C ends the program without a traceback, also while it loads."""
    try:
        from worker.cli import main as run  # noqa: PLC0415 - see above

        run()
    except KeyboardInterrupt:
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
