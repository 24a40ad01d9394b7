"""A pretend world for newcomers and tests. Only `nhi demo` and the tests import it."""
