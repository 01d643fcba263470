"""``python -m onellm_cli`` is ``onellm``."""

from onellm_cli.main import main

if __name__ == "__main__":
    main()
