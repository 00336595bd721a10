import Targets
import TileIR

/// Which products go to a target's matrix unit.
enum MatrixUnit {
  /// Rows and columns of a register of sums; a register of operands is twice as deep.
  static let size = 16

  /// Whether the unit multiplies these operands: bf16, the left one in rows and the right one in
  /// pairs, in views that fill whole registers or reach to their tiles' padding.
  static func takes(_ product: Multiply, _ target: Target, _ layout: ScratchLayout) -> Bool {
    guard target.hasMatrixUnit, !product.leftIsTransposed,
      let left = layout.places[product.left.tile]?.tile, left.type == .bf16, left.layout == .rows,
      let right = layout.places[product.right.tile]?.tile, right.layout == .pairs,
      let sums = layout.places[product.target.tile]?.tile
    else { return false }
    return fits(product.target.row, product.target.rows, sums.rows, size)
      && fits(product.target.column, product.target.columns, sums.columns, size)
      && fits(product.left.row, product.left.rows, left.rows, size)
      && fits(product.left.column, product.left.columns, left.columns, 2 * size)
      && fits(product.right.row, product.right.rows, right.rows, 2 * size)
      && fits(product.right.column, product.right.columns, right.columns, size)
      && product.depth.isWhole(2 * size, upTo: product.right.rows)
  }

  /// Whether a program has such a product.
  static func isUsed(by phase: TileProgram.Phase, _ target: Target, _ layout: ScratchLayout) -> Bool
  {
    target.hasMatrixUnit
      && phase.operations.contains {
        if case .multiply(let product) = $0 { takes(product, target, layout) } else { false }
      }
  }

  /// Whether a view begins with a register, and ends with one or with its tile.
  private static func fits(_ start: Index, _ count: Int, _ whole: Int, _ unit: Int) -> Bool {
    start.isWhole(unit, upTo: 0) && (count % unit == 0 || start == 0 && count == whole)
  }
}

/// Consecutive products for the matrix unit that add to one target: their sum stays in its registers.
struct MatrixSum {
  var products: [Multiply] = []
  /// What follows at once while the sums are at hand: rows scaled by the entries of a row, and a
  /// copy in pairs.
  private(set) var scale: TileView?
  private(set) var copy: TileView?

  /// The sum that begins with the first of these statements; nil when it is no such product.
  init?(_ body: ArraySlice<Statement>, _ emitter: PhaseEmitter) {
    for statement in body {
      guard case .operation(.multiply(let product)) = statement,
        MatrixUnit.takes(product, emitter.target, emitter.layout),
        products.isEmpty || isContinued(by: product)
      else { break }
      products.append(product)
    }
    if products.isEmpty { return nil }
    let target = products[0].target
    guard target.rows % 2 == 0 else { return }
    var rest = body.dropFirst(products.count)
    if let row = rest.first.flatMap({ MatrixSum.rowScale(of: target, $0) }) {
      scale = row
      rest = rest.dropFirst()
    }
    if case .operation(.map(let map)) = rest.first, emitter.layoutOf(map.target) == .pairs,
      map.operands.values.first == .tile(target, .none)
    {
      copy = map.target
    }
  }

  /// How many statements it stands for.
  var statements: Int { products.count + (scale == nil ? 0 : 1) + (copy == nil ? 0 : 1) }

  /// The row by which a statement scales the rows of `target`, if that is what it does.
  private static func rowScale(of target: TileView, _ statement: Statement) -> TileView? {
    guard case .operation(.map(let map)) = statement, map.target == target,
      case .binary(.multiply, .input(target.tile, _), .input(let name, _)) = map.expression,
      case .tile(target, .none) = map.operands[target.tile],
      case .tile(let row, .rowAsColumn) = map.operands[name]
    else { return nil }
    return row
  }

  private func isContinued(by product: Multiply) -> Bool {
    product.target == products[0].target && product.accumulates && product.rowScale == nil
      && product.columnScale == nil
  }
}

extension PhaseEmitter {
  mutating func write(_ sum: MatrixSum) {
    let first = sum.products[0]
    let lines = sum.products.map { product in
      let operands = operand(product.left) + operand(product.right) + [c(product.depth)]
      return "  {\(operands.joined(separator: ", "))},"
    }
    var writer = CWriter()
    writer.line("const sl_matrix_term terms[] = {")
    writer.lines(lines)
    writer.line("};")
    writer.call(
      "sl_multiply_matrix",
      size(first.target) + [String(sum.products.count)] + operand(first.target)
        + ["terms", before(first), after(sum)])
    out.block("") { $0.lines(writer.lines) }
  }
}

extension PhaseEmitter {
  private func after(_ sum: MatrixSum) -> String {
    if sum.scale == nil, sum.copy == nil { return "(sl_after){0}" }
    let scale = sum.scale.map(address) ?? "NULL"
    let copy = sum.copy.map { operand($0).joined(separator: ", ") } ?? "NULL, 0"
    return "(sl_after){\(scale), \(copy)}"
  }
}

extension Index {
  /// Whether every value is a multiple of `unit`, or the index is the constant `end`.
  fileprivate func isWhole(_ unit: Int, upTo end: Int) -> Bool {
    if terms.isEmpty, constant == end { return true }
    return constant % unit == 0 && terms.allSatisfy { $0.factor % unit == 0 }
  }
}
