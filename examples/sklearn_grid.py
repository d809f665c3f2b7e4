# SPDX-License-Identifier: BSD-3-Clause
"""A network inside scikit-learn: scaling and network in one pipeline, sizes found by a grid search.

Needs scikit-learn: pip install 'nervure[sklearn]'. Takes about ten seconds.
"""

from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from nervure.sklearn import MLPClassifier


def main() -> None:
    images, digits = load_digits(return_X_y=True)
    x_train, x_test, y_train, y_test = train_test_split(
        images, digits, test_size=0.25, stratify=digits, random_state=0
    )
    network = MLPClassifier(max_iter=300, n_iter_no_change=3, tol=1e-3, random_state=0)
    pipeline = make_pipeline(StandardScaler(), network)
    grid = {
        "mlpclassifier__hidden_layer_sizes": [(32,), (128,), (64, 64)],
        "mlpclassifier__alpha": [1e-4, 1e-2],
    }
    search = GridSearchCV(pipeline, grid, cv=3, n_jobs=2).fit(x_train, y_train)
    results = search.cv_results_
    for score, settings in sorted(
        zip(results["mean_test_score"], results["params"], strict=True), key=lambda pair: -pair[0]
    ):
        print(f"{score:.4f}  {settings}")
    print(f"\nbest on images it has not seen: {search.score(x_test, y_test):.4f}")


if __name__ == "__main__":
    main()
