"""The same applications in each framework that is measured: a module for each, with equal names."""
