"""A company of a given size: people as `syncd sample` makes them, groups of a few to a few hundred, each by DN."""

from __future__ import annotations

import random
import uuid
from dataclasses import replace

from syncd import sample


def company(users: int, groups: int, memberships: int, seed: int = 1) -> sample.Company:
    """Exactly so many users, groups and memberships, the groups' sizes between half and one and a half of the mean."""
    chance = random.Random(f"groups {seed}")  # noqa: S311 - nothing here is a secret
    people = [replace(one, rdn=None) for one in sample.company(users, 0, seed).people]
    keys = [one.uuid for one in people]
    made, left = [], memberships
    for number in range(groups):
        mean = left / (groups - number)
        size = round(mean * chance.uniform(0.5, 1.5)) if number < groups - 1 else left
        members = tuple(chance.sample(keys, max(1, min(size, users, left - (groups - number - 1)))))
        left -= len(members)
        key = str(uuid.UUID(int=chance.getrandbits(128), version=4))
        made.append(sample.Group(key, f"group-{number:05d}", "groupOfNames", members))
    return sample.Company(f"{users} users, {groups} groups, {memberships} memberships", tuple(people), tuple(made))
