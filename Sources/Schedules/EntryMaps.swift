import Recurrences
import TileIR

/// Expressions over the K x V entries of a state at one token, as maps over a tile: everything that has
/// one axis is computed first, as a row, and once however many maps read it.
struct EntryMaps {
  let specification: KernelSpecification
  let valueTile: Int
  /// The token.
  let start: Index
  /// What symbols stand for that are no inputs of the recurrence: states, adjoints, sums.
  var bound: [String: Map.Operand]
  /// The rows that were computed, by what they hold.
  private var rows: [String: (name: String, operand: Map.Operand)] = [:]

  init(
    _ specification: KernelSpecification, valueTile: Int, start: Index,
    bound: [String: Map.Operand]
  ) {
    self.specification = specification
    self.valueTile = valueTile
    self.start = start
    self.bound = bound
  }

  /// A map of every entry to `target`, K x V; its rows are computed before it.
  mutating func map(
    _ target: TileView, _ expression: Expression, _ b: inout ProgramBuilder
  ) -> TileIR.Operation {
    var operands: [String: Map.Operand] = [:]
    let lowered = lower(expression, &operands, &b)
    return .map(Map(target, lowered, operands))
  }

  private mutating func lower(
    _ expression: Expression, _ operands: inout [String: Map.Operand], _ b: inout ProgramBuilder
  ) -> Expression {
    if case .constant = expression { return expression }
    if case .input(let name, let axes) = expression {
      if let operand = bound[name] {
        operands[name] = operand
        return expression
      }
      if axes == .keyValue {
        operands[name] = b.operand(name, tokens: start, rows: specification.key)
        return expression
      }
    }
    guard expression.axes != .keyValue, !expression.inputNames.contains(where: { bound[$0] != nil })
    else {
      var parts: [Expression] = []
      for child in expression.children { parts.append(lower(child, &operands, &b)) }
      var next = parts.makeIterator()
      return expression.mapChildren { _ in next.next()! }
    }
    let row = row(expression, &b)
    operands[row.name] = row.operand
    return .input(row.name, expression.axes)
  }

  /// A row, a column or a number of the token.
  private mutating func row(
    _ expression: Expression, _ b: inout ProgramBuilder
  ) -> (name: String, operand: Map.Operand) {
    let text = expression.description
    if let known = rows[text] { return known }
    let columns =
      switch expression.axes {
      case .key: specification.key
      case .value: valueTile
      default: valueTile
      }
    let tile = b.tile(
      "x\(rows.count)_\(columns)", 1, columns, "what the maps of the entries read of one axis")
    b.map(tile.all, expression, tokens: start, fill: 0)
    let how = expression.axes == .key ? Map.Operand.Repeat.rowAsColumn : .overRows
    let row = (tile.name, Map.Operand.tile(tile.all, how))
    rows[text] = row
    return row
  }
}
