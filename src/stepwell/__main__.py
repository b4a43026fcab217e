"""`python -m stepwell` is the `stepwell` command. It serves where the script is not on the path. Nothing else lives here."""

from stepwell.cli import main

if __name__ == "__main__":
    main()
