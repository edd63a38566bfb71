import numpy as np

from progan_jax.record import rows_by_class


def test_each_row_shows_one_class_in_the_order_of_the_images():
    labels = np.array([2, 0, 2, 0, 2, 0, 2, 2])
    order = np.array([7, 1, 0, 3, 5, 6, 2, 4])
    chosen = rows_by_class(order, labels, columns=2, rows=2).reshape(2, 2)
    assert chosen.tolist() == [[1, 3], [7, 0]]


def test_more_rows_than_classes_show_the_next_images_and_few_images_again():
    labels = np.array([1, 0, 1, 1, 1])
    chosen = rows_by_class(np.arange(5), labels, columns=3, rows=5).reshape(5, 3)
    assert chosen.tolist() == [[1, 1, 1], [0, 2, 3], [1, 1, 1], [4, 0, 2], [1, 1, 1]]
