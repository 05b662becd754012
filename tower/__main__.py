"""`python -m tower` is `tower`."""

from tower.cli.main import main

if __name__ == "__main__":
    main()
