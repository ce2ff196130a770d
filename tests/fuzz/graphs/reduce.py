# SPDX-License-Identifier: Apache-2.0
"""Makes a graph that fails smaller, as long as it fails."""

import dataclasses

from .build import Graph


def cut_out(g, outputs, cuts):
    """The part of `g` that `outputs` need; values of `cuts` are inputs."""
    needed, nodes, values = set(outputs), [], []
    for node in reversed(g.nodes):
        made = [v for v in node.outputs if v is not None]
        if all(v in cuts or v not in needed for v in made):
            continue
        nodes.append(node)
        needed.update(node.operands())
    for value in [v for n in g.nodes for v in n.outputs] + g.values:
        if value not in needed or value in values:
            continue
        if value.kind != "node" or value in cuts:
            values.append(value)
    part = Graph(g.rng, g.opset, g.judge)
    part.infinite = g.infinite
    part.nodes = nodes[::-1]
    part.values = values
    return part


@dataclasses.dataclass
class Part:
    """A graph in which some values are inputs."""
    graph: Graph
    outputs: list
    cuts: list

    def model(self):
        kinds = [v.kind for v in self.cuts]
        for value in self.cuts:
            value.kind = "input"
        model = self.graph.model(self.outputs)
        for value, kind in zip(self.cuts, kinds):
            value.kind = kind
        return model

    def inputs(self):
        return [v for v in self.graph.values
                if v.kind == "input" or v in self.cuts]


def make_part(g, outputs, cuts):
    graph = cut_out(g, outputs, cuts)
    # A node may still compute a value that is cut, as another result of it is
    # wanted: then it is no input.
    made = {v for n in graph.nodes for v in n.outputs}
    real = [v for v in cuts if v in graph.values and v not in made]
    graph.values = [v for v in graph.values if v not in made]
    return Part(graph, [v for v in outputs if v not in real], real)


def reduce(g, outputs, fails):
    """The smallest part found for which `fails(part)` holds."""
    best = make_part(g, outputs, [])
    for output in outputs:
        part = make_part(g, [output], [])
        if len(outputs) > 1 and fails(part):
            best, outputs = part, [output]
            break
    cuts = []
    for node in g.nodes:
        tried = cuts + [v for v in node.outputs
                        if v is not None and v.is_tensor and not v.fixed]
        left = [v for v in outputs if v not in tried]
        if not left or node not in best.graph.nodes:
            continue
        part = make_part(g, left, tried)
        if len(part.graph.nodes) < len(best.graph.nodes) and fails(part):
            best, cuts, outputs = part, tried, left
    return best
