"""Registers the built-in evaluators: data only, nothing is imported."""

from collections.abc import Sequence

from genbench import ComponentSpec, hookimpl


@hookimpl
def genbench_evaluators() -> Sequence[ComponentSpec]:
    """Return the built-in evaluators."""
    return [
        ComponentSpec(
            name="accuracy",
            target="genbench_evaluators.accuracy:Accuracy",
            config="genbench_evaluators.configs.accuracy:AccuracyConfig",
            version=2,
            summary="top-1, top-5 and balanced accuracy, log-loss and confusion counts of every split",
        ),
        ComponentSpec(
            name="fid",
            target="genbench_evaluators.fid:Fid",
            config="genbench_evaluators.configs.fid:FidConfig",
            version=3,
            summary="Frechet distance of features to train and val, with the real-to-real floor",
            paper="arXiv:1706.08500",
        ),
        ComponentSpec(
            name="mmd",
            target="genbench_evaluators.mmd:Mmd",
            config="genbench_evaluators.configs.mmd:MmdConfig",
            version=3,
            summary="unbiased squared MMD of features to train and val, with the real-to-real floor",
            paper="JMLR 13:723-773, 2012",
        ),
        ComponentSpec(
            name="usefulness",
            target="genbench_evaluators.usefulness:Usefulness",
            config="genbench_evaluators.configs.usefulness:UsefulnessConfig",
            version=5,
            summary="across a suite: does a cheap metric of the images predict the gain of training on them",
        ),
        ComponentSpec(
            name="exchange_rate",
            target="genbench_evaluators.exchange_rate:ExchangeRate",
            config="genbench_evaluators.configs.exchange_rate:ExchangeRateConfig",
            version=2,
            summary="across training-set sizes: how many real images one synthetic image is worth",
            paper="arXiv:1712.00409",
        ),
        ComponentSpec(
            name="effective_robustness",
            target="genbench_evaluators.effective_robustness:EffectiveRobustness",
            config="genbench_evaluators.configs.effective_robustness:EffectiveRobustnessConfig",
            summary="across a suite: accuracy under a shift above the line of the real-only models",
            paper="arXiv:2007.00644",
        ),
        ComponentSpec(
            name="features",
            target="genbench_evaluators.features:Features",
            config="genbench_evaluators.configs.features:FeaturesConfig",
            version=2,
            summary="penultimate features beside the baseline's in one basis, drawn; CKA and its null",
            paper="arXiv:1905.00414",
        ),
        ComponentSpec(
            name="activation_mmd",
            target="genbench_evaluators.activation_mmd:ActivationMmd",
            config="genbench_evaluators.configs.activation_mmd:ActivationMmdConfig",
            summary="S4's MMD between two networks' activations, with the null that shows what it measures",
        ),
        ComponentSpec(
            name="train_accuracy",
            target="genbench_evaluators.train_accuracy:TrainAccuracy",
            config="genbench_evaluators.configs.train_accuracy:TrainAccuracyConfig",
            summary="top-1 on the training images (what S4 published as test), and the gap to test",
        ),
        ComponentSpec(
            name="kid",
            target="genbench_evaluators.kid:Kid",
            config="genbench_evaluators.configs.kid:KidConfig",
            summary="kernel inception distance of features to train and val, with the floor",
            paper="arXiv:1801.01401",
        ),
        ComponentSpec(
            name="precision_recall",
            target="genbench_evaluators.precision_recall:PrecisionRecall",
            config="genbench_evaluators.configs.precision_recall:PrecisionRecallConfig",
            version=2,
            summary="improved precision and recall, density and coverage, beside real images'",
            paper="arXiv:1904.06991, arXiv:2002.09797",
        ),
        ComponentSpec(
            name="vendi",
            target="genbench_evaluators.vendi:Vendi",
            config="genbench_evaluators.configs.vendi:VendiConfig",
            summary="how many different images are in the set, effectively",
            paper="arXiv:2210.02410",
        ),
        ComponentSpec(
            name="memorization",
            target="genbench_evaluators.memorization:Memorization",
            config="genbench_evaluators.configs.memorization:MemorizationConfig",
            version=3,
            summary="copies of train and test images, calibrated on real ones, and the dataset's own",
            paper="arXiv:2004.05675",
            reads=("test",),
        ),
        ComponentSpec(
            name="inception_score",
            target="genbench_evaluators.inception_score:InceptionScore",
            config="genbench_evaluators.configs.inception_score:InceptionScoreConfig",
            summary="inception score with the dataset's own classes, per class, too",
            paper="arXiv:1606.03498",
        ),
        ComponentSpec(
            name="label_fidelity",
            target="genbench_evaluators.label_fidelity:LabelFidelity",
            config="genbench_evaluators.configs.label_fidelity:LabelFidelityConfig",
            summary="does an independent classifier see the intended class, per class, too",
        ),
        ComponentSpec(
            name="ood_accuracy",
            target="genbench_evaluators.ood_accuracy:OodAccuracy",
            config="genbench_evaluators.configs.ood_accuracy:OodAccuracyConfig",
            summary="accuracy under every shift of the dataset, with interval, n and gap to test",
        ),
        ComponentSpec(
            name="adversarial",
            target="genbench_evaluators.adversarial:Adversarial",
            config="genbench_evaluators.configs.adversarial:AdversarialConfig",
            version=2,
            summary="accuracy under FGSM and PGD on a fixed subset of test, with a check of the attacks",
            paper="arXiv:1412.6572, arXiv:1706.06083",
        ),
    ]
