package tokenbroker

import "time"

// BendWall has the client take the wall clock for another one.
func (c *Client) BendWall(wall func() time.Time) {
	c.clock.mu.Lock()
	defer c.clock.mu.Unlock()
	c.clock.wall = wall
}
