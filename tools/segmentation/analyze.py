"""``mindvideo analyze`` under the name that it has always had here; ``--help`` lists what it takes."""

from mindvideo.cli import run_command

if __name__ == "__main__":
    run_command("analyze")
