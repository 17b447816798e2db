"""``mindvideo launch`` for launch.sh; ``--help`` lists what it takes."""

from mindvideo.cli import run_command

if __name__ == "__main__":
    run_command("launch")
