"""syncd keeps an application's users, groups, roles and seats in step with directories. See docs/architecture.md."""
