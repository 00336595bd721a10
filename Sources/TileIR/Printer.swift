import Recurrences

extension TileProgram: CustomStringConvertible {
  /// The stable text of a program: what `sluice generate --emit tile` prints and goldens hold.
  public var description: String {
    var lines = [
      "program \(name) key=\(key) value=\(value) chunk=\(chunk) value-tile=\(valueTile)"
        + "\(headTile == 1 ? "" : " head-tile=\(headTile)") segments=\(segmentation.text)"
    ]
    for tensor in tensors {
      lines.append(
        "  tensor \(tensor.name): \(tensor.kind.rawValue) \(tensor.rows)x\(tensor.columns)"
          + " \(tensor.type.rawValue)\(tensor.isOptional ? " optional" : "")")
    }
    for phase in phases {
      lines.append("")
      lines.append(
        "  phase \(phase.name) over \(phase.grid.map(\.rawValue).joined(separator: ", "))")
      for tile in phase.tiles {
        lines.append(
          "    tile \(tile.name): \(tile.rows)x\(tile.columns) \(tile.type.rawValue)"
            + "\(tile.layout == .rows ? "" : " " + tile.layout.rawValue)"
            + "\(tile.place == .scratch ? "" : " in registers")  -- \(tile.meaning)")
      }
      for statement in phase.body { statement.write(indent: 4, into: &lines) }
    }
    return lines.joined(separator: "\n") + "\n"
  }
}

extension TileProgram.Segmentation {
  var text: String {
    switch self {
    case .none: "none"
    case .fixed(let count): String(count)
    case .perChunk: "chunks"
    }
  }
}

extension Statement {
  fileprivate func write(indent: Int, into lines: inout [String]) {
    let margin = String(repeating: " ", count: indent)
    switch self {
    case .operation(let operation): lines.append(margin + operation.description)
    case .note(let text): lines.append(margin + "-- " + text)
    case .loop(let loop, let body):
      lines.append(margin + loop.description)
      for statement in body { statement.write(indent: indent + 2, into: &lines) }
    case .when(let condition, let body, let otherwise):
      lines.append(margin + "if \(condition)")
      for statement in body { statement.write(indent: indent + 2, into: &lines) }
      lines.append(margin + "otherwise")
      for statement in otherwise { statement.write(indent: indent + 2, into: &lines) }
    case .firstValueTile(let body):
      lines.append(margin + "on the first value tile")
      for statement in body { statement.write(indent: indent + 2, into: &lines) }
    }
  }
}

extension Condition: CustomStringConvertible {
  public var description: String {
    ((given.map { ["\($0) is given"] } ?? []) + above.map { "\($0.view) > \($0.limit)" }
      + magnitudeBelow.map { "|\($0.view)| < \($0.limit)" }).joined(separator: " and ")
  }
}

extension Loop: CustomStringConvertible {
  public var description: String {
    switch self {
    case .chunks(let name): "for \(name) in chunks"
    case .heads(let name): "for \(name) in heads"
    case .chunksBackward(let name): "for \(name) in chunks downwards"
    case .tokens(let name, let descending):
      "for \(name) in tokens of the chunk\(descending ? " downwards" : "")"
    case .queryHeads(let name): "for \(name) in query heads"
    case .segments(let name): "for \(name) in segments"
    case .range(let name, let from, let to, let descending):
      "for \(name) in \(from)..<\(to)\(descending ? " downwards" : "")"
    }
  }
}

extension Operation: CustomStringConvertible {
  public var description: String {
    switch self {
    case .map(let map):
      let operands = map.operands.sorted { $0.key < $1.key }
        .map { "\($0.key)=\($0.value.text)" }.joined(separator: ", ")
      let fill = map.tail.map { " past \($0.start) fill \($0.fill)" } ?? ""
      let complement = map.complement.map { " and \($0) = one minus that" } ?? ""
      return "\(map.target) = \(map.expression)\(complement) where \(operands)\(fill)"
    case .scan(let scan):
      return "\(scan.target) = running product \(scan.backward ? "backward" : "forward")"
        + "\(scan.exclusive ? " exclusive" : "") of \(scan.source)"
    case .mantissas(let product):
      return "\(product.mantissas), \(product.powers) = running mantissas of \(product.decays)"
    case .reduce(let reduce):
      return "\(reduce.target) = sum of \(reduce.source)"
    case .decayTotal(let total):
      let base = total.base.map { " + \($0)" } ?? ""
      return "\(total.target)\(base) = product of \(total.decay)"
        + (total.taken.map { " that take \($0)" } ?? "")
    case .decayFactor(let factor):
      return "\(factor.factor.text) = \(factor.decay) that take \(factor.taken)"
    case .fold(let fold):
      let carried = fold.carried
      return "\(fold.folded), \(fold.reading), \(fold.step), \(fold.total.text), "
        + "\(fold.exact)\(carried.map { ", \($0.begin.text)" } ?? "")"
        + " = fold \(fold.decay) that take \(fold.taken) into \(fold.key)"
        + "\(carried.map { " on from \($0.past.text)" } ?? "")"
        + "\(fold.readsPrevious ? " before" : "")"
    case .transpose(let transpose): return "\(transpose.target) = transpose \(transpose.source)"
    case .multiply(let product):
      let scales = [
        product.rowScale.map { "rows * \($0.text)" },
        product.columnScale.map { "columns * \($0.text)" },
      ].compactMap { $0 }.joined(separator: ", ")
      return "\(product.target) \(product.accumulates ? "+=" : "=")"
        + "\(scales.isEmpty ? "" : " (first \(scales))")"
        + " \(product.left)\(product.leftIsTransposed ? "^T" : "") . \(product.right)"
        + " depth \(product.depth)"
    case .decayMatrix(let matrix):
      return "\(matrix.target) = decays of \(matrix.decay.map(\.description) ?? "one")"
        + "\(matrix.readsPrevious ? " before" : "")"
    case .weigh(let weigh): return "\(weigh.target) *= \(weigh.weights)"
    case .decayedScores(let scores):
      return "\(scores.target) = scores \(scores.query) . \(scores.key) under \(scores.decay)"
        + "\(scores.readsPrevious ? " before" : "")"
    case .decayedValues(let values):
      return "\(values.target) <- values \(values.scores) . \(values.value) under \(values.decay)"
        + "\(values.readsPrevious ? " before" : "")"
    case .decayedPaths(let paths):
      let ends = paths.vectors.map { " from \($0.writer) to \($0.reader), adding \($0.written)" }
      return "\(paths.target), \(paths.read) <- paths \(paths.scores)\(ends ?? "") under "
        + "\(paths.decay)\(paths.readsPrevious ? " before" : "")"
    case .sumSequences(let sum): return "\(sum.target) = sum over sequences of \(sum.source)"
    case .monomials(let rows): return "\(rows.target) = monomials of \(rows.source)"
    case .monomialAdjoint(let adjoint):
      return "\(adjoint.target) = adjoint of \(adjoint.source) from its monomials' \(adjoint.given)"
    case .recur(let recur):
      let decays = [
        recur.beginScale.map { " at first \($0.text)" },
        recur.decay.map { " under \($0)" }, recur.decays.map { " where \($0)" },
        recur.valueDecay.map { " and \($0.text)" }, recur.endScale.map { " at last \($0.text)" },
      ].compactMap { $0 }.joined()
      return "\(recur.output), \(recur.state) = recurrence of "
        + "\(recur.query), \(recur.key), \(recur.value)\(decays)"
        + "\(recur.readsPrevious ? " before" : "")"
        + (recur.ahead.isEmpty
          ? "" : " ahead " + recur.ahead.map(\.description).joined(separator: ", "))
    case .moveState(let move):
      let scales = [
        move.rowScale.map { " rows * \($0.text)" },
        move.columnScale.map { " columns * \($0.text)" },
      ].compactMap { $0 }.joined(separator: ",")
      return "\(move.output), \(move.target) = \(move.source) moved by "
        + "\(move.query), \(move.key), \(move.value)\(scales.isEmpty ? "" : " under\(scales)")"
        + "\(move.readsPrevious ? " before" : "")"
    case .loadState(let load): return "\(load.target) = \(load.source)"
    case .storeState(let store): return "\(store.target) = \(store.source)"
    case .storeTokens(let store):
      return "\(store.target) = \(store.source)\(store.streams ? "" : " through the caches")"
    }
  }
}

extension Factor {
  fileprivate var text: String { views.map(\.description).joined(separator: " + ") }
}

extension Map.Operand {
  fileprivate var text: String {
    switch self {
    case .tile(let view, .none): "\(view)"
    case .tile(let view, let how): "\(view) \(how.rawValue)"
    case .tokens(let slice): "\(slice)"
    case .parameter(let name, let column): "\(name)[\(column)]"
    case .scale: "scale"
    }
  }
}
