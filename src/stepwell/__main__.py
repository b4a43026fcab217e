"""`python -m stepwell` is the `stepwell` command, for where the script is not on the path."""

from stepwell.cli import main

if __name__ == "__main__":
    main()
