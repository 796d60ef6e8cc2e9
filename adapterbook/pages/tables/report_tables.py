"""Write the tables of the report: each is a list of columns over a list of rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from markupsafe import Markup

from adapterbook.analysis.shapes import (
    Ablation,
    AdapterReport,
    Comparison,
    CostTable,
    Group,
    ParameterFormula,
    PublishedRun,
    RunReport,
)
from adapterbook.common.confusion import MAX_CLASSES
from adapterbook.common.formatting import capitalised
from adapterbook.pages.live import LiveTables
from adapterbook.pages.tables import columns as of
from adapterbook.pages.tables.baseline_tables import BaselineTables
from adapterbook.pages.tables.cells import METHOD_NAMES, NBSP, NONE, Cells, Column, Row
from adapterbook.pages.tables.sentence_list import first_sentences, sentence_block
from adapterbook.pages.writing.escape import as_markup, inline_code

MAX_COLUMNS = 5  # of labels


class ReportTables(BaselineTables, LiveTables):
    """Provide ``tables`` to the templates: one method for each table."""

    def adapters(self) -> Markup:
        """Return every adapter, with or without results, and the baselines that need no training."""
        baselines = []
        for baseline in self.report.baselines:
            if baseline.adapter is None and baseline.accuracy is not None:
                value = self.tools.derived(baseline, "accuracy", "percent")
                if baseline.interval is not None:
                    value = Markup(f"{value} {self.bracketed(baseline, 'interval')}")
                baselines.append([self.words.label(["baseline", baseline.kind]), NONE, NONE, value, value, NONE])
        return self._numbered("adapters", of.ADAPTERS, self.report.adapters.values(), extra=baselines)

    def differences(self, adapter: AdapterReport) -> Markup:
        """Return the settings in which an adapter differs from the reference adapter."""
        columns = (
            Column("setting", cell=lambda cells, item: inline_code(item.key), align="l"),
            Column("reference", align="l", heading=self.words.name(str(adapter.reference)), cell=lambda cells, item: (
                None if item.kind == "added" else cells.setting_value(item.reference))),
            Column("adapter", align="l", heading=self.words.name(adapter), cell=lambda cells, item: (
                None if item.kind == "removed" else cells.setting_value(item.value))),
        )  # fmt: skip
        return self._numbered("differences", columns, adapter.differences)

    def epochs(self, group: Group) -> Markup:
        """Return one group's curve as numbers: the record's own where there is one seed, else means over seeds."""
        run = group.representative
        if group.n_completed != 1 or run is None or run.record is None:
            means = [Row(group, ("curve", "points", i)) for i in range(len(group.curve.points))]
            return self._plain(of.curve_columns(".mean"), means)
        best = run.record.best
        mark = self.words.label("kept_mark" if best is not None and best.value is not None else "last_mark")
        kept = None if best is None else best.epoch
        columns = of.curve_columns("", lambda cells, point: mark if point.epoch == kept else "")
        part = "evaluations" if run.record.evaluations else "epochs"
        return self._plain(columns, [Row(run, (part, i), True) for i in range(len(run.record.curve))])

    def mistakes(self, run: RunReport) -> Markup:
        """Return for each label what it was most often taken for; nothing where the figure shows them all."""
        if run.confusion is None or self.report.source.n_labels <= MAX_CLASSES:
            return Markup()
        columns = (Column("truth", align="l"), Column("n"), Column("n_correct"), Column("mistaken_for", align="l"))
        cells: list[list[str]] = []
        for label, other in enumerate(run.confusion.mistakes):
            found = [self.tools.derived(run, ["confusion", "n_with", label], "count"),
                     self.tools.derived(run, ["confusion", "counts", label, label], "count")]  # fmt: skip
            mistake: str = NONE
            if other is not None:
                n = self.tools.derived(run, ["confusion", "counts", label, other], "count")
                mistake = as_markup(self.words.class_name(other)) + Markup(f" ({n})")
            cells.append([self.words.class_name(label), *found, mistake])
        return self._plain(columns, (), extra=cells)

    def examples(self, run: RunReport, kind: str) -> Markup:
        """Return a few test rows of a run: those of ``run.examples`` that are of one kind."""
        rows = [Row(run, ("examples", kind, i)) for i in range(len(getattr(run.examples, kind)))]
        if self.words.two_labels:
            heading = self._named("probability_of", 1)
            return self._plain((*of.EXAMPLE, Column("probability", "percent", heading=heading)), rows)
        return self._plain((*of.EXAMPLE, Column("confidence", "percent")), rows)

    def sentences(self) -> Markup:
        """Return the test sentences with what each adapter makes of them: the data for a script, then the first few."""
        return Markup(f"{sentence_block(self)}\n\n{first_sentences(self)}")

    def variants(self, adapter: AdapterReport) -> Markup:
        """Return results and costs of one adapter, one row a variant."""
        return self._numbered("variants", of.VARIANTS, adapter.groups.values())

    def pairs(self, comparison: Comparison) -> Markup:
        """Return every pair of a comparison; an interval stands beside its difference, to fit a narrow screen."""
        columns = (
            Column("pair", cell=lambda cells, pair: cells.names_of(pair), align="l"),
            Column("difference_interval", cell=lambda cells, pair: cells.difference(pair), align="l"),
            Column("p_holm", "p"),
            Column("p_same_holm", "p"),
            Column("verdict", cell=lambda cells, pair: (
                cells.words.reason(str(pair.reason)) if pair.kind == "not_comparable"
                else cells.words.label(["verdict", pair.kind])), align="l"),
        )  # fmt: skip
        return self._numbered(f"pairs_{comparison.basis}", columns, comparison.pairs) if comparison.pairs else Markup()

    def costs(self, costs: CostTable, number: int, last: bool) -> Markup:
        """Return the costs on one device; the last table also lists the adapters without a result on any."""
        shown = {row.adapter for table in self.report.costs for row in table.rows}
        missing = [[self.adapter_link(adapter), self.no_result(adapter.submitted), *[NONE] * 5]
                   for adapter in self.report.adapters.values() if last and adapter.id not in shown]  # fmt: skip
        key = "cpu_costs" if costs.clock == "cpu" else "costs"
        return self._numbered(key, of.COSTS, costs.rows, extra=missing, id=f"costs-{number}", device=costs.device_name)

    def calibration(self) -> Markup:
        """Return how sure each adapter is, and how often it is right."""
        return self._numbered("calibration", of.CALIBRATION, self.report.calibration.adapters.values())

    def directions(self, adapters: Sequence[AdapterReport]) -> Markup:
        """Return how many directions the updates of some adapters use; nothing where no record says it."""
        known = [item for item in adapters if item.learned is not None and item.learned.directions is not None]
        return self._numbered("directions", of.DIRECTIONS, known) if known else Markup()

    def accuracies(self) -> Markup:
        """Return the test accuracy at every learning rate: one row an adapter, one column a rate."""
        rates = [Column("test_accuracy", align="l", heading=self.words.variant_title(variant), cell=_result_in(variant))
                 for variant in self._rates()]  # fmt: skip
        return self._numbered("accuracies", [of.ADAPTER, *rates], self.report.adapters.values())

    def runs(self, runs: Sequence[RunReport], fault: Callable[[RunReport], str], caption: str = "runs") -> Markup:
        """Return the state of each run, on the site with its record; ``fault`` says what is wrong with a run."""
        columns = (
            Column("run", cell=lambda cells, run: cells.tools.link(run, run.id), align="l"),
            Column("state", cell=Cells.state, align="l"),
            Column("why", cell=lambda cells, run: (
                None if run.completed and not run.stale and run.reason is None else fault(run)), align="l"),
            Column("record", align="l", cell=lambda cells, run: (
                None if run.state == "missing" else cells.tools.record_link(run, cells.words.heading("record")))),
        )  # fmt: skip
        return self._numbered(caption, columns[:3] if self.tools.target == "pdf" else columns, runs, id="runs")

    def record(self, run: RunReport) -> Markup:
        """Return the main facts of one run's record, each number with the way to its line on the page."""
        record = run.record
        if record is None:
            raise ValueError(f"{run.id} has no record")
        state = as_markup(self.words.state(run.state))
        if not run.completed or run.stale:
            stale = f" [{as_markup(self.words.state('stale'))}]{{.beside}}" if run.stale else ""
            state = Markup(f"**{state}**{stale}")
        facts: dict[str, str | None] = {
            "state": state,
            "started": self.words.moment(record.started_at),
            "finished": self.words.moment(record.finished_at),
        }
        if run.completed:
            for key, field, kind in of.RECORD_FACTS:
                facts[key] = self.value(Row(run, in_record=True), field, kind)
        return self._plain(of.FACTS, (), extra=self._facts(facts | {"device": record.environment.device_name}))

    def published(self, run: PublishedRun, number: int, adapter: AdapterReport) -> Markup:
        """Return the published and the rerun curve of one adapter, epoch by epoch."""
        title = self.words.text(adapter.config.title)
        return self._numbered("published", of.PUBLISHED, run.points, id=f"published-{number}", adapter=title)

    def ablation(self, ablation: Ablation) -> Markup:
        """Return how each group of an ablation went; the factor's values are numbers."""
        kind = "rate" if ablation.factor == "learning_rate" else "plain"
        columns = (
            of.ADAPTER_OF_GROUP,
            Column(ablation.factor, cell=lambda cells, group: (
                cells.tools.derived(ablation, ["values", group.variant], kind))),
            Column("best_validation_loss", "loss", "overfitting.best_validation_loss"),
            Column("best_epoch", "plain", "overfitting.best_epoch"),
            Column("final_validation_loss", "loss", "overfitting.final_validation_loss"),
            Column("onset_epoch", "plain", "overfitting.onset_epoch"),
            of.MARKED_ACCURACY,
        )  # fmt: skip
        return self._numbered(ablation.factor, columns, self._groups(ablation))

    def eval_views(self, ablation: Ablation) -> Markup:
        """Return what each evaluation strategy would have seen and kept of one training, and what that scores."""
        columns = of.EVAL_VIEWS if ablation.eval_finding is None else of.TESTED_VIEWS
        return self._numbered("eval_views", columns, ablation.eval_views)

    def rule_costs(self, ablation: Ablation) -> Markup:
        """Return what each adapter's runs kept, beside the last epoch and the lowest validation loss."""
        return self._numbered("rule_costs", of.RULE_COSTS, ablation.rule_costs)

    def travel(self) -> Markup:
        """Return how each adapter's accuracy goes with its travel."""
        return self._numbered("travel", of.TRAVEL, self.report.travel.findings.values())

    def splits(self) -> Markup:
        """Return the three splits, from the first completed run: every run of a study has the same."""
        run = next((run for run in self.report.runs if run.completed), None)
        labels = (1,) if self.words.two_labels else range(self.report.source.n_labels)
        of_split: list[list[str]] = []
        for split in ("train", "validation", "test"):
            if run is None:
                counts: list[str] = [self.tools.derived(self.report, ["study", "data", f"n_{split}"], "count")]
                counts += [NONE] * len(labels)
            else:
                counts = [self.tools.number(run, ["splits", split, "n"], "count")]
                counts += [self.tools.number(run, ["splits", split, "n_by_label", i], "count") for i in labels]
            of_split.append([self.words.label(["split", split]), *counts])
        columns = [Column("split", align="l"), Column("n")]
        columns += [Column("n_by_label", heading=capitalised(self.words.class_name(i))) for i in labels]
        cells: Sequence[Sequence[str]] = of_split
        if len(labels) > MAX_COLUMNS:  # a row a label
            first, *others = zip(*of_split, strict=True)
            names = [self.words.heading("n"), *(self.words.class_name(i) for i in labels)]
            columns = [Column("truth", align="l"), *(Column("split", heading=split) for split in first)]
            cells = [[name, *counts] for name, counts in zip(names, others, strict=True)]
        return self._numbered("splits", columns, (), extra=cells)

    def parameters(self, adapters: Sequence[AdapterReport]) -> Markup:
        """Return the trainable parameters of the adapters of one method: the adapter's own and the head's."""
        return self._numbered("params", of.PARAMS, adapters, method=_method(adapters))

    def formulas(self, adapters: Sequence[AdapterReport]) -> Markup:
        """Return the count of parameters by formula, module by module, of the adapters of one method."""
        formulas = {adapter.id: adapter.formula for adapter in adapters if adapter.formula is not None}
        if not formulas:
            return Markup()
        scales = any(formula.method == "ia3" for formula in formulas.values())
        columns = (
            Column("adapter", align="l"),
            Column("module", align="l"),
            Column("d_in_d_out", align="l"),
            Column("scaled" if scales else "rank"),
            Column("n_params_each"),
            Column("n_layers"),
            Column("sum"),
        )
        cells: list[Sequence[str | None]] = []
        for id, formula in formulas.items():
            names = [self.adapter_link(self.report.adapters[id]), *[""] * len(formula.rows)]
            cells += [[name, *self._formula_row(formula, i)] for i, name in enumerate(names[: len(formula.rows)])]
            total = self.tools.derived(formula, "n_adapter_params", "count")
            cells.append(["", self.words.heading("sum"), "", "", "", "", total])
        return self._numbered("formula", columns, (), extra=cells, method=_method(adapters))

    def _formula_row(self, formula: ParameterFormula, index: int) -> list[str | None]:
        def number(field: str) -> Markup:
            return self.tools.derived(formula, ["rows", index, field], "count")

        row = formula.rows[index]
        scales = None if row.scales is None else self.words.label(["scales", row.scales])
        sizes = Markup(f"{NBSP}→{NBSP}").join([number("d_in"), number("d_out")])
        own = scales if row.r is None else number("r")
        return [row.kind, sizes, own, number("n_params_each"), number("n_layers"), number("n_params")]

    def lora_settings(self, adapters: Sequence[AdapterReport]) -> Markup:
        """Return LoRA's settings side by side."""
        return self._numbered("settings", of.SETTINGS, adapters)

    def protocol(self) -> Markup:
        """Return data and training arguments, under the names that the YAML file and Transformers use."""
        study = self.report.study
        cells = [[inline_code(key), self.tools.derived(self.report, ["study", "data", key], "plain")]
                 for key in study.data.model_dump()]  # fmt: skip
        for key, value in study.training.model_dump().items():
            if value is not None:
                cells.append([inline_code(key), self.argument(self.report, ["study", "training", key], value)])
        seeds = [self.tools.derived(self.report, ["study", "seeds", i], "plain") for i in range(len(study.seeds))]
        cells.append([inline_code("seeds"), self.listed(seeds)])
        cells.append([inline_code("margin"), self.tools.derived(self.report, ["study", "margin"], "plain")])
        return self._numbered("protocol", (Column("setting", align="l"), of.FACTS[1]), (), extra=cells)

    def study_variants(self) -> Markup:
        """Return the settings that each variant of the study changes, and the adapters that run in it."""
        return self._numbered("study_variants", of.STUDY_VARIANTS, self.report.variants, id="variants")

    def identities(self) -> Markup:
        """Return the identity of the base model and the data, from the first record."""
        cells: list[list[str | None]] = []
        if (run := self._recorded()) is not None and run.record is not None:
            source = run.record.source
            cells = [
                [self.words.heading("base_model"), source.base_model, source.base_model_revision,
                 inline_code(source.base_model_sha256)],
                [self.words.heading("dataset"), source.dataset, source.dataset_revision,
                 inline_code(source.dataset_sha256)],
            ]  # fmt: skip
        columns = [Column(key, align="l") for key in ("field", "name", "revision", "sha256")]
        return self._numbered("identities", columns, (), extra=cells)

    def environment(self) -> Markup:
        """Return the machine and the packages, from the first record."""
        run = self._recorded()
        if run is None or run.record is None:
            return as_markup(self.words.reason("missing"))
        environment = run.record.environment
        facts = {
            "device": environment.device_name,
            "platform": environment.platform,
            "threads": self.tools.number(run, "environment.n_threads", "count"),
        }
        versions = [["Python", environment.python], *map(list, environment.packages.items())]
        return self._numbered("environment", of.FACTS, (), extra=[*self._facts(facts), *versions])

    def learned(self, run: RunReport) -> Markup:
        """Return the update of each layer in one run's kept checkpoint."""
        modules = (run.record and run.record.learned) or ()
        scales = any(module.scale_deviation is not None for module in modules)
        rows = [Row(run, ("learned", i), True) for i in range(len(modules))]
        group = self.report.group(run.run.adapter.id, run.run.variant)
        learned = None if group is None else group.learned
        return self._plain([*(of.LEARNED if scales else of.LEARNED[:3]), *of.directions_of(learned)], rows)

    def _groups(self, ablation: Ablation) -> list[Group]:
        """Return the groups of an ablation in order of the factor's value, then of the adapters."""
        adapters = [id for id in self.report.adapters if id in ablation.adapters]
        places = [(id, variant) for variant in ablation.variants for id in adapters]
        return [ablation.groups[place] for place in places if place in ablation.groups]

    def _recorded(self) -> RunReport | None:
        """Return the first run that has a record."""
        return next((run for run in self.report.runs if run.record is not None), None)

    def _rates(self) -> Sequence[str]:
        """Return the variants that differ in the learning rate alone, or else the submitted one."""
        return self.report.ablations["learning_rate"].variants or [self.report.study.submitted]

    def _named(self, key: str, label: int) -> str:
        """Return a word that names a label, such as "Predicted negative"."""
        return self.words.label(key).replace("{label}", self.words.class_name(label))


def _method(adapters: Sequence[AdapterReport]) -> str:
    """Return the name of some adapters' method for a caption."""
    peft_type = adapters[0].config.peft_type
    return METHOD_NAMES.get(peft_type, peft_type)


def _result_in(variant: str) -> Callable[[Any, AdapterReport], Markup]:
    """Return the cell of an adapter's result in one variant."""
    return lambda cells, adapter: cells.result_or_reason(cells.report.group(adapter.id, variant))
