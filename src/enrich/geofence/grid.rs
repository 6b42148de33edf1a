//! An index over areas: which of them has a point.
//!
//! The plane is cut into cells, and cells with many edges into smaller ones, until few edges are
//! left in each. A cell that no edge touches is a zone wholly, or is outside; in the others, only
//! the areas with edges there are candidates, and only those edges are looked at. So a lookup
//! compares a few numbers, however many zones there are and however long their borders.
//!
//! How it is known whether a point is in an area from the edges of one cell: the cell's lower right
//! corner is known to be in the area or not. A path from the point to the right side of the cell,
//! and down that side to the corner, crosses only edges that touch the cell, and each crossing
//! changes the answer. The crossings are those of [`Edge::is_right_of`] and [`Edge::is_below`], which
//! move every point in the same way, so the answer is that of a ray through the whole plane, to the
//! last bit.

use std::collections::BTreeSet;
use std::ops::Range;

use super::cells::{Bounds, Layout};
use super::geometry::{Edge, Point};

/// Cells with so few edges are not cut.
const FEW_EDGES: usize = 8;

/// Cells are not cut more often: edges that meet in one point stay together however small it is.
const MAX_DEPTH: usize = 12;

/// How often an edge may stand in cells, for each edge. Long edges side by side stand in many.
const MAX_COPIES: usize = 16;

/// An area with a border: the even-odd inside of its edges.
#[derive(Debug)]
pub(super) struct Area {
    /// The zone that it is a part of; areas are in the order of their zones.
    pub(super) zone: u32,
    /// Its edges in the list of all edges.
    pub(super) edges: Range<u32>,
}

/// What is known of a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cell {
    /// No zone has a point of it.
    Outside,
    /// This zone has all points of it.
    Within(u32),
    /// Some edges touch it: an index of `leaves`.
    Leaf(u32),
    /// It is cut: an index of `grids`.
    Grid(u32),
}

/// A rectangle cut into cells, row by row from below.
#[derive(Debug)]
struct Grid {
    layout: Layout,
    cells: Vec<Cell>,
}

/// A cell with edges.
#[derive(Debug)]
struct Leaf {
    /// The right side of the cell.
    right: f64,
    /// Its candidates, in order.
    parts: Range<u32>,
    /// The zone that has all of it, behind the candidates in order.
    whole: Option<u32>,
}

/// An area in a cell.
#[derive(Debug, Clone, Copy)]
struct Part {
    zone: u32,
    /// Whether the area has the lower end of the cell's right side, counted below all its edges.
    base: bool,
    edges: (u32, u32),
}

/// The index.
#[derive(Debug)]
pub(super) struct Index {
    root: Cell,
    bounds: Bounds,
    grids: Vec<Grid>,
    leaves: Vec<Leaf>,
    parts: Vec<Part>,
    /// The edges of the parts.
    part_edges: Vec<u32>,
    edges: Vec<Edge>,
}

/// A cell that is to be made: what touches it, in the order of areas.
struct Piece {
    bounds: Bounds,
    parts: Vec<PiecePart>,
    /// The first area behind which none can win: it has the whole cell.
    whole: Option<u32>,
    depth: usize,
    /// How many places of edges it may be made into.
    budget: usize,
}

struct PiecePart {
    area: u32,
    /// Whether the area has the lower right corner.
    corner: bool,
    edges: Vec<u32>,
}

/// A cell, the place of a part, and an edge of the part that touches the cell.
type Touch = (u32, u32, u32);

impl Piece {
    fn count(&self) -> usize {
        self.parts.iter().map(|part| part.edges.len()).sum()
    }
}

impl Index {
    /// Makes the index of areas over a list of edges.
    pub(super) fn build(areas: &[Area], edges: Vec<Edge>) -> Self {
        let bounds = Bounds::of(&edges);
        let mut index = Self {
            root: Cell::Outside,
            bounds,
            grids: Vec::new(),
            leaves: Vec::new(),
            parts: Vec::new(),
            part_edges: Vec::new(),
            edges,
        };
        let parts = areas.iter().zip(0_u32..).map(|(area, number)| PiecePart {
            area: number,
            // Nothing is to the right of all edges.
            corner: false,
            edges: area.edges.clone().collect(),
        });
        let piece = Piece {
            bounds,
            parts: parts.collect(),
            whole: None,
            depth: 0,
            budget: index.edges.len() * MAX_COPIES,
        };
        index.root = index.cell(areas, piece);
        index.part_edges.shrink_to_fit();
        index.parts.shrink_to_fit();
        index
    }

    /// The first zone that has a point.
    #[inline]
    pub(super) fn find(&self, point: Point) -> Option<u32> {
        // Upper and right borders belong to neighbours, which there are none of.
        if !self.bounds.has(point) {
            return None;
        }
        let mut cell = self.root;
        loop {
            match cell {
                Cell::Outside => return None,
                Cell::Within(zone) => return Some(zone),
                Cell::Leaf(leaf) => return self.find_in(self.leaves.get(leaf as usize)?, point),
                Cell::Grid(grid) => {
                    let grid = self.grids.get(grid as usize)?;
                    cell = *grid.cells.get(grid.layout.cell_of(point))?;
                }
            }
        }
    }

    /// How many bytes it takes.
    pub(super) fn byte_len(&self) -> usize {
        let cells: usize = self.grids.iter().map(|grid| grid.cells.capacity()).sum();
        cells * size_of::<Cell>()
            + self.grids.capacity() * size_of::<Grid>()
            + self.leaves.capacity() * size_of::<Leaf>()
            + self.parts.capacity() * size_of::<Part>()
            + self.part_edges.capacity() * size_of::<u32>()
            + self.edges.capacity() * size_of::<Edge>()
    }

    fn find_in(&self, leaf: &Leaf, point: Point) -> Option<u32> {
        let side = Point {
            x: leaf.right,
            y: point.y,
        };
        let parts = leaf.parts.start as usize..leaf.parts.end as usize;
        for part in self.parts.get(parts)? {
            let edges = part.edges.0 as usize..part.edges.1 as usize;
            let mut inside = part.base;
            for edge in self.part_edges.get(edges)? {
                let edge = self.edges.get(*edge as usize)?;
                inside ^= edge.is_right_of(point) ^ edge.is_right_of(side) ^ edge.is_below(side);
            }
            if inside {
                return Some(part.zone);
            }
        }
        leaf.whole
    }

    fn cell(&mut self, areas: &[Area], piece: Piece) -> Cell {
        let zone_of = |area: u32| areas.get(area as usize).map(|area| area.zone);
        let whole = piece.whole.and_then(zone_of);
        if piece.parts.is_empty() {
            return whole.map_or(Cell::Outside, Cell::Within);
        }
        let count = piece.count();
        if count > FEW_EDGES && piece.depth < MAX_DEPTH && count <= piece.budget {
            let edges = piece.parts.iter().flat_map(|part| &part.edges);
            let edges = edges.filter_map(|edge| self.edges.get(*edge as usize));
            if let Some(layout) = Layout::of(piece.bounds, count, edges) {
                return self.cut(areas, &piece, layout);
            }
        }
        let corner = Point {
            x: piece.bounds.right,
            y: piece.bounds.bottom,
        };
        let first = self.parts.len();
        for part in &piece.parts {
            let start = self.part_edges.len();
            self.part_edges.extend_from_slice(&part.edges);
            self.parts.push(Part {
                zone: zone_of(part.area).unwrap_or_default(),
                base: part.corner ^ self.count(&part.edges, |edge| edge.is_below(corner)),
                edges: (number(start), number(self.part_edges.len())),
            });
        }
        self.leaves.push(Leaf {
            right: piece.bounds.right,
            parts: number(first)..number(self.parts.len()),
            whole,
        });
        Cell::Leaf(number(self.leaves.len() - 1))
    }

    /// Whether an odd number of edges is as asked.
    fn count(&self, edges: &[u32], asked: impl Fn(&Edge) -> bool) -> bool {
        let edges = edges.iter();
        let edges = edges.filter_map(|edge| self.edges.get(*edge as usize));
        edges.filter(|edge| asked(edge)).count() % 2 == 1
    }

    /// Cuts a cell into smaller ones.
    fn cut(&mut self, areas: &[Area], piece: &Piece, layout: Layout) -> Cell {
        // Which edges touch which cells, in the order of cells and areas.
        let mut touching: Vec<Touch> = Vec::new();
        for (part, place) in piece.parts.iter().zip(0_u32..) {
            for edge in &part.edges {
                if let Some(shape) = self.edges.get(*edge as usize) {
                    layout.for_cells_of(shape, |cell| touching.push((cell, place, *edge)));
                }
            }
        }
        touching.sort_unstable();
        let share = piece.budget / touching.len().max(1);
        let corners = self.right_corners(piece, &layout);
        let mut cells = vec![Cell::Outside; layout.cells()];
        let mut rest = touching.as_slice();
        for (row, corners) in (0..layout.rows()).zip(corners) {
            let end = rest.partition_point(|(cell, _, _)| layout.row_of(*cell) <= row);
            let (in_row, later) = rest.split_at_checked(end).unwrap_or((rest, &[]));
            rest = later;
            let pieces = self.row(piece, &layout, row, corners, in_row);
            for (cell, mut piece) in pieces {
                piece.budget = share * piece.count();
                let made = self.cell(areas, piece);
                if let Some(cell) = cells.get_mut(cell as usize) {
                    *cell = made;
                }
            }
        }
        let grid = Grid { layout, cells };
        self.grids.push(grid);
        Cell::Grid(number(self.grids.len() - 1))
    }

    /// Which parts have the right ends of the lower sides of rows, from what is known of the lower
    /// right corner of the whole: a path up the right side.
    fn right_corners(&self, piece: &Piece, layout: &Layout) -> Vec<Vec<bool>> {
        let x = piece.bounds.right;
        let lower = Point {
            x,
            y: piece.bounds.bottom,
        };
        let mut corners = vec![Vec::with_capacity(piece.parts.len()); layout.rows() as usize];
        for part in &piece.parts {
            let edges = part.edges.iter();
            let edges = edges.filter_map(|edge| self.edges.get(*edge as usize));
            let at_side: Vec<_> = edges.filter(|edge| edge.is_over(x)).collect();
            for (corners, row) in corners.iter_mut().zip(0..) {
                let side = Point {
                    x,
                    y: layout.bottom(row),
                };
                let passed = |edge: &&&Edge| edge.is_below(side) != edge.is_below(lower);
                let passed = at_side.iter().filter(passed).count();
                corners.push(part.corner ^ (passed % 2 == 1));
            }
        }
        corners
    }

    /// The cells of a row, from right to left: what is known of their lower right corners is carried
    /// along.
    fn row(
        &self,
        piece: &Piece,
        layout: &Layout,
        row: u32,
        mut corners: Vec<bool>,
        mut touching: &[Touch],
    ) -> Vec<(u32, Piece)> {
        let mut active: BTreeSet<usize> = corners
            .iter()
            .enumerate()
            .filter(|(_, corner)| **corner)
            .map(|(place, _)| place)
            .collect();
        let mut pieces = Vec::new();
        for cell in layout.row_cells(row).rev() {
            let start = touching.partition_point(|(at, _, _)| *at < cell);
            let (before, here) = touching.split_at_checked(start).unwrap_or((touching, &[]));
            touching = before;
            let bounds = layout.bounds(cell);
            let groups: Vec<_> = here.chunk_by(|a, b| a.1 == b.1).collect();
            let place_of = |group: &[Touch]| group.first().map(|entry| entry.1 as usize);
            // The first area that has all of the cell: its corner, and no edge in it.
            let whole = active.iter().copied().find(|place| {
                let has = |group: &&[Touch]| place_of(group).cmp(&Some(*place));
                groups.binary_search_by(has).is_err()
            });
            let whole_area = whole
                .and_then(|place| piece.parts.get(place))
                .map(|part| part.area)
                .into_iter()
                .chain(piece.whole)
                .min();
            let mut parts = Vec::new();
            let left = Point {
                x: bounds.left,
                y: bounds.bottom,
            };
            let right = Point {
                x: bounds.right,
                y: bounds.bottom,
            };
            for group in groups {
                let Some(place) = place_of(group) else {
                    continue;
                };
                let (Some(part), Some(corner)) = (piece.parts.get(place), corners.get_mut(place))
                else {
                    continue;
                };
                let edges: Vec<_> = group.iter().map(|entry| entry.2).collect();
                let passed = |edge: &Edge| edge.is_right_of(left) ^ edge.is_right_of(right);
                let next = *corner ^ self.count(&edges, passed);
                // What comes behind an area that has all of the cell never wins there.
                if whole_area.is_none_or(|whole| part.area < whole) {
                    parts.push(PiecePart {
                        area: part.area,
                        corner: *corner,
                        edges,
                    });
                }
                *corner = next;
                if next {
                    active.insert(place);
                } else {
                    active.remove(&place);
                }
            }
            if parts.is_empty() && whole_area.is_none() {
                continue;
            }
            let made = Piece {
                bounds,
                parts,
                whole: whole_area,
                depth: piece.depth + 1,
                budget: 0,
            };
            pieces.push((cell, made));
        }
        pieces
    }
}

fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
