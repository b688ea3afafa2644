"""Notebook 14 needs Flower, which is installed with pip install -e '.[flower]'; without it its cells are not executed."""
import importlib.util

collect_ignore = [] if importlib.util.find_spec("flwr") else ["14_on_flower.ipynb"]
