"""Answers by the task that a model was trained for, one file for each way of answering, and a table of them."""
