"""Frames per second of `SyntheticRooms` on one core.

Run by hand: `OMP_NUM_THREADS=1 python tests/benchmarks/bench_rooms.py`.
"""

import sys
import time

import torch

from lightning_mtl.data.rooms.synthetic_rooms import SyntheticRooms

FRAMES = 500


def frames_per_second(rooms: SyntheticRooms) -> float:
    rooms[0]
    start = time.perf_counter()
    for index in range(FRAMES):
        rooms[index]
    return FRAMES / (time.perf_counter() - start)


def main() -> None:
    torch.set_num_threads(1)
    default = ("segmentation", "depth", "normals")
    for size in ((96, 128), (192, 256)):
        for tasks in ((), default, SyntheticRooms.TASKS):
            speed = frames_per_second(SyntheticRooms(FRAMES, size=size, tasks=tasks))
            sys.stdout.write(f"{size[0]}x{size[1]} {', '.join(('image', *tasks))}: {speed:.0f}/s\n")


if __name__ == "__main__":
    main()
