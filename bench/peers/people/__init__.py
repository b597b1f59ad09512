"""The models of the Django site: a user with the mixin that django-scim2 offers, and its groups."""
